"""The console: a page in the browser that asks the management API, and the files that make it up. `static/` is the product's
own, `vendor/` what others made, as its `vendor.json` says; `http` serves both. Static files alone, for anyone: no data, no
setting, and no import of another folder of `leads`.
"""

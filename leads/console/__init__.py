"""The console: a page in the browser that calls the management API. `static/` holds the product's files, `vendor/` the files of
others, which `vendor.json` lists, and `http` serves both. Anyone may load these files: they hold no data and no setting. This
package imports no other folder of `leads`.
"""

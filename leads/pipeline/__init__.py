"""The way of a lead: request (`http`, `intake`), queue message, attempt and settling (`delivery`, `new_leads`, `attempt`,
`settling`), and the ways back on the queue (`redriving`, `recovery`, `replay`, `importing`). May import everything except
`privacy`, `watch`, `operations` and `cli`.
"""

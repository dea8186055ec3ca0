"""A lead's way: from the request (`http`, `intake`) over its queue message to its settled attempt (`delivery`, `new_leads`,
`attempt`, `settling`), and back on the queue where it has to go again (`redriving`, `recovery`, `replay`, `importing`). May
import everything but `privacy`, `watch`, `operations` and the shell's `cli`.
"""

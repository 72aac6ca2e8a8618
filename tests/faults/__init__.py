"""The fault kit: processes that die, hang or stumble at a chosen point of a sale, and lines that break.

Nothing in the product knows of it: a forked child wraps the side effects by name, or counts its own lines, and then
kills itself. `stage` plays a sale in such a child, `theatre` is everything around it, `promises` is what must hold.
"""

"""The operator's commands: `flask …`. The same rules as the web, spoken on a terminal."""

import flask

from cli import batches, checks, conformance, demo, exports, keys, mail, people, schema, work


def register(app: flask.Flask) -> None:
    """Put every command on `app`."""
    for group in (schema, people, keys, batches, exports, work, mail, checks, conformance, demo):
        for command in group.COMMANDS:
            app.cli.add_command(command)

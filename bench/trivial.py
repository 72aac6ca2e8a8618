"""A Flask app that does nothing, served as the shop is: what is left is the server's own share."""

import flask


def create_app() -> flask.Flask:
    """One route, `/`, that answers a line of JSON."""
    app = flask.Flask(__name__)

    @app.route("/", methods=["GET", "POST"])
    def answer() -> dict[str, str]:
        return {"status": "ok"}

    return app

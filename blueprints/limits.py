"""How much and how often: sizes of bodies, and the limiter that every blueprint shares."""

import flask_limiter
from flask_limiter.util import get_remote_address

BODY_OF_FORM = 256 * 1024

limiter = flask_limiter.Limiter(get_remote_address, strategy="moving-window")

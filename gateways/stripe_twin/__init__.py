"""A twin of Stripe for the demo and the tests: Stripe's wire format, a pay page, signed events. No real money, ever.

    app = create_twin(store=Path("instance/stripe.sqlite"), secret_key="sk_test_…", webhook_secret="whsec_…",
                      webhook_url="http://127.0.0.1:8000/webhooks/stripe", public_url="https://shop.example/demo/stripe")

is a WSGI app to be mounted or run alone; `Twin` runs it on a free port of this machine for a test.
"""

from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.server import Twin
from gateways.stripe_twin.site import create_twin

__all__ = ["Fault", "Twin", "create_twin"]

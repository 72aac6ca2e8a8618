"""python redeem.py <code> <bill in cents> <key that was stored with the bill>"""

import sys

from till import NoAnswer, Refused, Till

code, amount_minor, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    booked = Till().redeem(code, amount_minor, key=key)
except Refused as refused:
    sys.exit(refused.display)
except NoAnswer:
    sys.exit("No connection. Try the same bill again, or cancel it.")

print(booked["display"]["en"])
still_to_pay = booked["calculation"]["remaining_order_amount_minor"]
if still_to_pay:
    print(f"Still to pay in cash or by card: {still_to_pay / 100:.2f}")

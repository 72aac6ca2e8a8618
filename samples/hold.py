"""python hold.py <code> <expected bill in cents> <final bill in cents> <key stored with the bill>"""

import sys

from till import NoAnswer, Refused, Till

code, expected, final, key = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
till = Till()
try:
    hold = till.hold(code, expected, key=key + "-hold")  # the guests order
    print(f"Held: {hold['amount_minor'] / 100:.2f}")
    taken = min(final, hold["amount_minor"])
    booked = till.capture(hold["id"], taken, key=key)  # the guests pay
except Refused as refused:
    sys.exit(refused.display)
except NoAnswer:
    sys.exit("No connection. Try the same bill again: the same keys find what was booked.")

print(booked["display"]["en"])
if final > taken:
    print(f"Still to pay in cash or by card: {(final - taken) / 100:.2f}")

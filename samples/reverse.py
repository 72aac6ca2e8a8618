"""python reverse.py <key that the redemption was sent with>"""

import sys

from till import NoAnswer, Refused, Till

try:
    taken_back = Till().reverse(sys.argv[1])
except Refused as refused:
    sys.exit(refused.display)
except NoAnswer:
    sys.exit("No connection. Reverse it again: it is safe to repeat.")

print(taken_back["display"]["en"])

# sh redeem.sh <code> <bill in cents> <key that was stored with the bill>
. "$(dirname "$0")/till.sh"

bill='{"code": "'"$1"'", "amount_minor": '"$2"', "currency": "EUR", "reference": "'"$3"'"}'
post /vouchers/redeem "$bill" "$3"

# sh reverse.sh <key that the redemption was sent with>
. "$(dirname "$0")/till.sh"

post /redemptions/reverse '{"idempotency_key": "'"$1"'"}'

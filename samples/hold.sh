# sh hold.sh <code> <expected bill in cents> <final bill in cents> <key stored with the bill>
. "$(dirname "$0")/till.sh"

held=$(post /vouchers/hold '{"code": "'"$1"'", "amount_minor": '"$2"', "currency": "EUR"}' "$4-hold") || exit
id=$(echo "$held" | grep -o 'hld_[0-9a-f]*' | head -n 1)
amount=$(echo "$held" | grep -o '"amount_minor": [0-9]*' | head -n 1 | grep -o '[0-9]*$')
if [ "$3" -lt "$amount" ]; then amount=$3; fi

post "/holds/$id/capture" '{"amount_minor": '"$amount"'}' "$4"

# A till's side of Vouchsafe: the same Idempotency-Key on every retry, and a way back from every bill.
# Source it; it needs curl and the variables VOUCHSAFE_URL and VOUCHSAFE_KEY.

# post <path> <body> [<key>]: prints the answer; status 0 done, 1 refused, 2 nobody knows.
post() {
  body=$(mktemp)
  for pause in 1 2 4 8 0; do
    status=$(curl --silent --max-time 10 --output "$body" --write-out '%{http_code}' \
      --header "Authorization: Bearer $VOUCHSAFE_KEY" --header "Content-Type: application/json" \
      ${3:+--header "Idempotency-Key: $3"} --data "$2" "$VOUCHSAFE_URL/api/v1$1") || status=000
    case $status in
      2??) cat "$body"; echo; rm "$body"; return 0 ;;
      429 | 5?? | 000) sleep "$pause" ;;
      *)
        if ! grep -q '"code": "request_in_progress"' "$body"; then
          cat "$body" >&2; echo >&2; rm "$body"; return 1
        fi
        sleep "$pause" ;;
    esac
  done
  rm "$body"
  return 2
}

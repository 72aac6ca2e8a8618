curl "$VOUCHSAFE_URL/api/v1/vouchers/validate" \
  --header "Authorization: Bearer $VOUCHSAFE_KEY" \
  --json '{"code": "TEST-VALID-5000", "amount_minor": 3000, "currency": "EUR"}'

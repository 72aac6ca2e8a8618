from os import environ

import requests

answer = requests.post(
    environ["VOUCHSAFE_URL"] + "/api/v1/vouchers/validate",
    headers={"Authorization": "Bearer " + environ["VOUCHSAFE_KEY"]},
    json={"code": "TEST-VALID-5000", "amount_minor": 3000, "currency": "EUR"},
    timeout=10,
)
print(answer.json()["display"]["en"])

"""A till's side of Vouchsafe: the same Idempotency-Key on every retry, and a way back from every bill."""

import os
import time

import requests

PAUSES = (1, 2, 4, 8, 0)  # seconds after each try


class Refused(Exception):
    """The answer was no; `display` is the sentence for the screen, `code` the reason for your program."""

    def __init__(self, problem):
        super().__init__(problem["detail"])
        self.code = problem["code"]
        self.display = problem.get("display", {}).get("en", problem["title"])


class NoAnswer(Exception):
    """Nobody knows whether it was booked: try again later with the same key, or reverse it."""


class Till:
    def __init__(self):
        self.url = os.environ["VOUCHSAFE_URL"] + "/api/v1"
        self.secret = os.environ["VOUCHSAFE_KEY"]

    def validate(self, code, amount_minor, currency="EUR"):
        body = {"code": code, "amount_minor": amount_minor, "currency": currency}
        return self.post("/vouchers/validate", body)

    def redeem(self, code, amount_minor, currency="EUR", *, key):
        body = {"code": code, "amount_minor": amount_minor, "currency": currency, "reference": key}
        return self.post("/vouchers/redeem", body, key=key)

    def reverse(self, key):
        return self.post("/redemptions/reverse", {"idempotency_key": key})

    def hold(self, code, amount_minor, currency="EUR", *, key):
        body = {"code": code, "amount_minor": amount_minor, "currency": currency}
        return self.post("/vouchers/hold", body, key=key)["hold"]

    def capture(self, hold_id, amount_minor, *, key):
        return self.post(f"/holds/{hold_id}/capture", {"amount_minor": amount_minor}, key=key)

    def post(self, path, body, *, key=None):
        """Send the same request until the answer says what happened."""
        headers = {"Authorization": f"Bearer {self.secret}"}
        if key:
            headers["Idempotency-Key"] = key
        for pause in PAUSES:
            try:
                answer = requests.post(self.url + path, json=body, headers=headers, timeout=10)
                content = answer.json()
            except requests.RequestException:  # no connection, no answer, half an answer
                time.sleep(pause)
                continue
            if answer.ok:
                return content
            if answer.status_code < 500 and content["code"] not in ("rate_limited", "request_in_progress"):
                raise Refused(content)
            time.sleep(int(answer.headers.get("Retry-After", pause)))
        raise NoAnswer(key)

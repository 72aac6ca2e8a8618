const answer = await fetch(process.env.VOUCHSAFE_URL + "/api/v1/vouchers/validate", {
  method: "POST",
  headers: {
    Authorization: "Bearer " + process.env.VOUCHSAFE_KEY,
    "Content-Type": "application/json",
  },
  body: JSON.stringify({ code: "TEST-VALID-5000", amount_minor: 3000, currency: "EUR" }),
});
console.log((await answer.json()).display.en);

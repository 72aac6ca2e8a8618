// A till's side of Vouchsafe: the same Idempotency-Key on every retry, and a way back from every bill.
const url = `${process.env.VOUCHSAFE_URL}/api/v1`;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** The answer was no; `display` is the sentence for the screen, `code` the reason for your program. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
    this.display = problem.display?.en ?? problem.title;
  }
}

/** Nobody knows whether it was booked: try again later with the same key, or reverse it. */
export class NoAnswer extends Error {}

/** Send the same request until the answer says what happened. */
export async function post(path, body, key) {
  const headers = { Authorization: `Bearer ${process.env.VOUCHSAFE_KEY}`, "Content-Type": "application/json" };
  if (key) headers["Idempotency-Key"] = key;
  for (let pause of [1, 2, 4, 8, 0]) {
    try {
      const answer = await fetch(url + path, {
        method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(10_000),
      });
      const content = await answer.json();
      if (answer.ok) return content;
      if (answer.status < 500 && !["rate_limited", "request_in_progress"].includes(content.code)) {
        throw new Refused(content);
      }
      pause = Number(answer.headers.get("Retry-After") ?? pause);
    } catch (error) {
      if (error instanceof Refused) throw error; // everything else: no connection, no answer, half an answer
    }
    await sleep(pause);
  }
  throw new NoAnswer(key);
}

const bill = (code, amount_minor) => ({ code, amount_minor, currency: "EUR" });
export const validate = (code, amount) => post("/vouchers/validate", bill(code, amount));
export const redeem = (code, amount, key) =>
  post("/vouchers/redeem", { ...bill(code, amount), reference: key }, key);
export const reverse = (key) => post("/redemptions/reverse", { idempotency_key: key });
export const hold = async (code, amount, key) => (await post("/vouchers/hold", bill(code, amount), key)).hold;
export const capture = (id, amount_minor, key) => post(`/holds/${id}/capture`, { amount_minor }, key);

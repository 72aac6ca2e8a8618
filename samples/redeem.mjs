// node redeem.mjs <code> <bill in cents> <key that was stored with the bill>
import { NoAnswer, redeem } from "./till.mjs";

const [code, amount, key] = process.argv.slice(2);
try {
  const booked = await redeem(code, Number(amount), key);
  console.log(booked.display.en);
  const stillToPay = booked.calculation.remaining_order_amount_minor;
  if (stillToPay) console.log(`Still to pay in cash or by card: ${(stillToPay / 100).toFixed(2)}`);
} catch (error) {
  console.error(error instanceof NoAnswer ? "No connection. Try the same bill again, or cancel it." : error.display);
  process.exitCode = 1;
}

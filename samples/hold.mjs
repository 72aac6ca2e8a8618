// node hold.mjs <code> <expected bill in cents> <final bill in cents> <key stored with the bill>
import { capture, hold, NoAnswer } from "./till.mjs";

const [code, expected, final, key] = process.argv.slice(2);
const shown = (minor) => (minor / 100).toFixed(2);
try {
  const held = await hold(code, Number(expected), `${key}-hold`); // the guests order
  console.log(`Held: ${shown(held.amount_minor)}`);
  const taken = Math.min(Number(final), held.amount_minor);
  const booked = await capture(held.id, taken, key); // the guests pay
  console.log(booked.display.en);
  if (Number(final) > taken) console.log(`Still to pay in cash or by card: ${shown(Number(final) - taken)}`);
} catch (error) {
  console.error(error instanceof NoAnswer ? "No connection. Try the same bill again." : error.display);
  process.exitCode = 1;
}

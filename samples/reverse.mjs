// node reverse.mjs <key that the redemption was sent with>
import { NoAnswer, reverse } from "./till.mjs";

try {
  console.log((await reverse(process.argv[2])).display.en);
} catch (error) {
  console.error(error instanceof NoAnswer ? "No connection. Reverse it again: it is safe to repeat." : error.display);
  process.exitCode = 1;
}

<?php
// php hold.php <code> <expected bill in cents> <final bill in cents> <key stored with the bill>
require __DIR__ . '/till.php';

[, $code, $expected, $final, $key] = $argv;
$till = new Till();
try {
    $hold = $till->hold($code, (int) $expected, "$key-hold"); // the guests order
    printf("Held: %.2f\n", $hold['amount_minor'] / 100);
    $taken = min((int) $final, $hold['amount_minor']);
    $booked = $till->capture($hold['id'], $taken, $key); // the guests pay
} catch (Refused $refused) {
    fwrite(STDERR, $refused->display . "\n");
    exit(1);
} catch (NoAnswer) {
    fwrite(STDERR, "No connection. Try the same bill again: the same keys find what was booked.\n");
    exit(1);
}

echo $booked['display']['en'], "\n";
if ($final > $taken) {
    printf("Still to pay in cash or by card: %.2f\n", ($final - $taken) / 100);
}

<?php
// php redeem.php <code> <bill in cents> <key that was stored with the bill>
require __DIR__ . '/till.php';

try {
    $booked = (new Till())->redeem($argv[1], (int) $argv[2], $argv[3]);
} catch (Refused $refused) {
    fwrite(STDERR, $refused->display . "\n");
    exit(1);
} catch (NoAnswer) {
    fwrite(STDERR, "No connection. Try the same bill again, or cancel it.\n");
    exit(1);
}

echo $booked['display']['en'], "\n";
$stillToPay = $booked['calculation']['remaining_order_amount_minor'];
if ($stillToPay > 0) {
    printf("Still to pay in cash or by card: %.2f\n", $stillToPay / 100);
}

<?php
// php reverse.php <key that the redemption was sent with>
require __DIR__ . '/till.php';

try {
    echo (new Till())->reverse($argv[1])['display']['en'], "\n";
} catch (Refused $refused) {
    fwrite(STDERR, $refused->display . "\n");
    exit(1);
} catch (NoAnswer) {
    fwrite(STDERR, "No connection. Reverse it again: it is safe to repeat.\n");
    exit(1);
}

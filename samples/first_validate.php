<?php
$call = curl_init(getenv('VOUCHSAFE_URL') . '/api/v1/vouchers/validate');
curl_setopt_array($call, [
    CURLOPT_HTTPHEADER => ['Authorization: Bearer ' . getenv('VOUCHSAFE_KEY'), 'Content-Type: application/json'],
    CURLOPT_POSTFIELDS => json_encode(['code' => 'TEST-VALID-5000', 'amount_minor' => 3000, 'currency' => 'EUR']),
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_TIMEOUT => 10,
]);
echo json_decode(curl_exec($call), true)['display']['en'], "\n";

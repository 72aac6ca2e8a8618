<?php
// A till's side of Vouchsafe: the same Idempotency-Key on every retry, and a way back from every bill.

/** The answer was no; `display` is the sentence for the screen, `reason` the code for your program. */
class Refused extends Exception
{
    public readonly string $reason;
    public readonly string $display;

    public function __construct(array $problem)
    {
        parent::__construct($problem['detail']);
        $this->reason = $problem['code'];
        $this->display = $problem['display']['en'] ?? $problem['title'];
    }
}

/** Nobody knows whether it was booked: try again later with the same key, or reverse it. */
class NoAnswer extends Exception
{
}

class Till
{
    public function validate(string $code, int $amount): array
    {
        return $this->post('/vouchers/validate', self::bill($code, $amount));
    }

    public function redeem(string $code, int $amount, string $key): array
    {
        return $this->post('/vouchers/redeem', self::bill($code, $amount) + ['reference' => $key], $key);
    }

    public function reverse(string $key): array
    {
        return $this->post('/redemptions/reverse', ['idempotency_key' => $key]);
    }

    public function hold(string $code, int $amount, string $key): array
    {
        return $this->post('/vouchers/hold', self::bill($code, $amount), $key)['hold'];
    }

    public function capture(string $id, int $amount, string $key): array
    {
        return $this->post("/holds/$id/capture", ['amount_minor' => $amount], $key);
    }

    /** Send the same request until the answer says what happened. */
    public function post(string $path, array $body, ?string $key = null): array
    {
        $headers = ['Authorization: Bearer ' . getenv('VOUCHSAFE_KEY'), 'Content-Type: application/json'];
        if ($key !== null) {
            $headers[] = "Idempotency-Key: $key";
        }
        foreach ([1, 2, 4, 8, 0] as $pause) {
            $retryAfter = null;
            $call = curl_init(getenv('VOUCHSAFE_URL') . "/api/v1$path");
            curl_setopt_array($call, [
                CURLOPT_POSTFIELDS => json_encode($body),
                CURLOPT_HTTPHEADER => $headers,
                CURLOPT_RETURNTRANSFER => true,
                CURLOPT_TIMEOUT => 10,
                CURLOPT_HEADERFUNCTION => function ($_, string $line) use (&$retryAfter): int {
                    if (stripos($line, 'Retry-After:') === 0) {
                        $retryAfter = (int) substr($line, 12);
                    }
                    return strlen($line);
                },
            ]);
            $text = curl_exec($call);
            $status = curl_getinfo($call, CURLINFO_RESPONSE_CODE);
            $content = is_string($text) ? json_decode($text, true) : null; // null: no answer, or half of one
            if (is_array($content) && $status < 300) {
                return $content;
            }
            $isTemporary = $status >= 500 || in_array($content['code'] ?? '', ['rate_limited', 'request_in_progress']);
            if (is_array($content) && !$isTemporary) {
                throw new Refused($content);
            }
            sleep($retryAfter ?? $pause);
        }
        throw new NoAnswer((string) $key);
    }

    private static function bill(string $code, int $amount): array
    {
        return ['code' => $code, 'amount_minor' => $amount, 'currency' => 'EUR'];
    }
}

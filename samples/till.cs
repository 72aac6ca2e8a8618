// A till's side of Vouchsafe: the same Idempotency-Key on every retry, and a way back from every bill. (.NET 8)
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

/// <summary>The answer was no; Display is the sentence for the screen, Code the reason for your program.</summary>
public class Refused(JsonNode problem) : Exception((string?)problem["detail"])
{
    public string Code { get; } = (string)problem["code"]!;
    public string Display { get; } = (string?)problem["display"]?["en"] ?? (string)problem["title"]!;
}

/// <summary>Nobody knows whether it was booked: try again later with the same key, or reverse it.</summary>
public class NoAnswer(string? key) : Exception(key);

public class Till
{
    private static readonly int[] Pauses = [1, 2, 4, 8, 0]; // seconds after each try
    private readonly HttpClient http = new() { Timeout = TimeSpan.FromSeconds(10) };
    private readonly string url = Environment.GetEnvironmentVariable("VOUCHSAFE_URL") + "/api/v1";

    public Till() => http.DefaultRequestHeaders.Authorization =
        new AuthenticationHeaderValue("Bearer", Environment.GetEnvironmentVariable("VOUCHSAFE_KEY"));

    public Task<JsonNode> Validate(string code, long amount) => Post("/vouchers/validate", Bill(code, amount));

    public Task<JsonNode> Redeem(string code, long amount, string key) =>
        Post("/vouchers/redeem", new { code, amount_minor = amount, currency = "EUR", reference = key }, key);

    public Task<JsonNode> Reverse(string key) => Post("/redemptions/reverse", new { idempotency_key = key });

    public async Task<JsonNode> Hold(string code, long amount, string key) =>
        (await Post("/vouchers/hold", Bill(code, amount), key))["hold"]!;

    public Task<JsonNode> Capture(string id, long amount, string key) =>
        Post($"/holds/{id}/capture", new { amount_minor = amount }, key);

    /// <summary>Send the same request until the answer says what happened.</summary>
    public async Task<JsonNode> Post(string path, object body, string? key = null)
    {
        foreach (var pause in Pauses)
        {
            var wait = TimeSpan.FromSeconds(pause);
            try
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, url + path) { Content = JsonContent.Create(body) };
                if (key != null) request.Headers.Add("Idempotency-Key", key);
                using var answer = await http.SendAsync(request);
                var content = (await answer.Content.ReadFromJsonAsync<JsonNode>())!;
                if (answer.IsSuccessStatusCode) return content;
                var isTemporary = (int)answer.StatusCode >= 500
                    || (string?)content["code"] is "rate_limited" or "request_in_progress";
                if (!isTemporary) throw new Refused(content);
                wait = answer.Headers.RetryAfter?.Delta ?? wait;
            }
            catch (Exception error) when (error is not Refused)
            {
                // No connection, no answer, half an answer.
            }
            await Task.Delay(wait);
        }
        throw new NoAnswer(key);
    }

    private static object Bill(string code, long amount) => new { code, amount_minor = amount, currency = "EUR" };
}

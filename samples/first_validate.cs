using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

using var http = new HttpClient();
http.DefaultRequestHeaders.Authorization =
    new AuthenticationHeaderValue("Bearer", Environment.GetEnvironmentVariable("VOUCHSAFE_KEY"));
var answer = await http.PostAsJsonAsync(
    Environment.GetEnvironmentVariable("VOUCHSAFE_URL") + "/api/v1/vouchers/validate",
    new { code = "TEST-VALID-5000", amount_minor = 3000, currency = "EUR" });
var verdict = await answer.Content.ReadFromJsonAsync<JsonNode>();
Console.WriteLine((string?)verdict?["display"]?["en"]);

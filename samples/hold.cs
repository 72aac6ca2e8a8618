// dotnet run <code> <expected bill in cents> <final bill in cents> <key stored with the bill>
var (code, expected, final, key) = (args[0], long.Parse(args[1]), long.Parse(args[2]), args[3]);
var till = new Till();
try
{
    var hold = await till.Hold(code, expected, key + "-hold"); // the guests order
    var held = (long)hold["amount_minor"]!;
    Console.WriteLine($"Held: {held / 100m:F2}");
    var taken = Math.Min(final, held);
    var booked = await till.Capture((string)hold["id"]!, taken, key); // the guests pay
    Console.WriteLine((string?)booked["display"]!["en"]);
    if (final > taken) Console.WriteLine($"Still to pay in cash or by card: {(final - taken) / 100m:F2}");
}
catch (Refused refused)
{
    Console.Error.WriteLine(refused.Display);
    Environment.ExitCode = 1;
}
catch (NoAnswer)
{
    Console.Error.WriteLine("No connection. Try the same bill again: the same keys find what was booked.");
    Environment.ExitCode = 1;
}

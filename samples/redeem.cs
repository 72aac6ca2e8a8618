// dotnet run <code> <bill in cents> <key that was stored with the bill>
try
{
    var booked = await new Till().Redeem(args[0], long.Parse(args[1]), args[2]);
    Console.WriteLine((string?)booked["display"]!["en"]);
    var stillToPay = (long)booked["calculation"]!["remaining_order_amount_minor"]!;
    if (stillToPay > 0) Console.WriteLine($"Still to pay in cash or by card: {stillToPay / 100m:F2}");
}
catch (Refused refused)
{
    Console.Error.WriteLine(refused.Display);
    Environment.ExitCode = 1;
}
catch (NoAnswer)
{
    Console.Error.WriteLine("No connection. Try the same bill again, or cancel it.");
    Environment.ExitCode = 1;
}

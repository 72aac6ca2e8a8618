// dotnet run <key that the redemption was sent with>
try
{
    var takenBack = await new Till().Reverse(args[0]);
    Console.WriteLine((string?)takenBack["display"]!["en"]);
}
catch (Refused refused)
{
    Console.Error.WriteLine(refused.Display);
    Environment.ExitCode = 1;
}
catch (NoAnswer)
{
    Console.Error.WriteLine("No connection. Reverse it again: it is safe to repeat.");
    Environment.ExitCode = 1;
}

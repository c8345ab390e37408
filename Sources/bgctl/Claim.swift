import ArgumentParser
struct Claim: ParsableCommand {
    @OptionGroup var options: ImageOptions
    func run() throws { throw Failure("claim is not there yet") }
}

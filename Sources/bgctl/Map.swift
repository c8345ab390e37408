import ArgumentParser
struct Map: ParsableCommand {
    @OptionGroup var options: ImageOptions
    func run() throws { throw Failure("map is not there yet") }
}

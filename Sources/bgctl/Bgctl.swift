//===-- Bgctl.swift - the command line: where it starts and how it fails --------------------------===//
// Every way out passes here. Bad input of any kind, the parser's included, is one line on standard
// error and exit status 1 (2 of check, where 1 stands for faults that it found); help and --version go to standard output with status 0.
//
// Not here: what the commands do. Each has a file of its own.

import ArgumentParser

struct Bgctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bgctl",
        abstract: "Makes, fills and checks btrfs file systems, and shows where their space is.",
        discussion: """
            Every command takes the image files or block devices of one file system, in any order: \
            no root, no mount. All but mkfs, put and rm only read them. Do not point those at a \
            file system that is mounted for writing; what they print would be out of date as they \
            read.
            """,
        version: "0.2.0",
        subcommands: [
            Info.self, Groups.self, FreeSpace.self, Map.self, Claim.self, Check.self, Mkfs.self,
            Put.self, Get.self, List.self, Remove.self, DiskFree.self,
        ]
    )
}

/// What went wrong, as the one line that a person reads.
struct Failure: Error {
    let message: String

    init(_ message: String) { self.message = message }
}

/// The reader of standard output has gone; there is nobody left to tell.
struct BrokenPipe: Error {}

@main
enum Main {
    static func main() {
        do {
            var command = try Bgctl.parseAsRoot()
            try command.run()
        } catch let failure as Failure {
            fail(failure.message)
        } catch is BrokenPipe {
            quit(failureStatus)
        } catch {
            leave(reporting: error)
        }
    }

    /// Ends with the parser's help, or with its complaint in one line.
    private static func leave(reporting error: any Error) -> Never {
        if Bgctl.exitCode(for: error) == .success {
            var output = Output()
            output.write(Bgctl.fullMessage(for: error) + "\n")
            try? output.flush()
            quit(0)
        }
        let text = Bgctl.message(for: error)
        guard !text.isEmpty else { quit(failureStatus) }
        fail(text.split(whereSeparator: \.isNewline).joined(separator: " "))
    }

    private static func fail(_ message: String) -> Never {
        say("bgctl: " + message)
        quit(failureStatus)
    }

    private static var failureStatus: CInt {
        CommandLine.arguments.dropFirst().first == Check.configuration.commandName ? 2 : 1
    }
}

//===-- Programs.swift - starts btrfs-progs, mount and our own bgctl, and says which are there ----===//
// The one place of the tests that starts a process.
//
// By posix_spawn and read: Foundation's Process leaks a little, and so does its Data for an empty file,
// which the address sanitizer reports. Output goes to files, not pipes: a pipe would be held open by
// programs that other threads start meanwhile, and can fill up while the other is read.

package import Foundation

/// What this machine has and lets a test do.
package enum Machine {
    package static let hasMkfs = tool("mkfs.btrfs") != nil
    package static let hasBtrfsProgs = hasMkfs && tool("btrfs") != nil

    /// Whether this process may make loop devices and mount btrfs on them: it is tried.
    package static let canMount: Bool = {
        guard geteuid() == 0, hasMkfs, tool("mount") != nil else { return false }
        guard let image = try? MkfsImage(sizes: [256 << 20]) else { return false }
        return (try? image.mounted { _ in }) != nil
    }()

    /// The bgctl of this build: it lies beside the test bundle's executable, which is this process.
    package static let bgctl: String? = {
        guard let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        else { return nil }
        let path = URL(fileURLWithPath: own).deletingLastPathComponent()
            .appendingPathComponent("bgctl").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    /// Where a program is, which may be outside an ordinary user's PATH.
    package static func tool(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        return
            (folders.map(String.init) + [
                "/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin",
            ])
            .map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

package struct ToolFailure: Error, CustomStringConvertible {
    package let description: String
    package init(description: String) { self.description = description }
}

/// What a run of a program came to.
package struct Outcome {
    /// The exit status; 128 and the signal's number for a program that a signal ended.
    package let status: Int32
    package let output: String
    package let complaint: String
}

/// Runs the program at `path` to its end.
///
/// - Parameters:
///   - variables: set in its environment, beside what this process has.
///   - joined: standard error goes where standard output goes, in the order it came.
package func execute(
    _ path: String,
    _ arguments: [String],
    _ variables: [String: String] = [:],
    joined: Bool = false
) throws -> Outcome {
    let folder = try TemporaryFolder()
    let (output, complaint) = (folder.path("output"), folder.path("complaint"))
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let creating = O_WRONLY | O_CREAT | O_TRUNC
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, creating, 0o600)
    if joined {
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
    } else {
        posix_spawn_file_actions_addopen(&actions, 2, complaint, creating, 0o600)
    }
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    let environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
    var settings = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for setting in settings { free(setting) } }
    var child: pid_t = 0
    let failed = posix_spawn(&child, path, &actions, nil, &words, &settings)
    guard failed == 0 else { throw ToolFailure(description: "\(path): errno \(failed)") }
    var status: CInt = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return Outcome(
        status: status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f,
        output: String(decoding: try readFile(output), as: UTF8.self),
        complaint: joined ? "" : String(decoding: try readFile(complaint), as: UTF8.self)
    )
}

/// Runs a program to its end and returns what it printed, standard error included.
///
/// - Throws: `ToolFailure` where there is no such program, or its status is not 0.
@discardableResult
package func run(_ name: String, _ arguments: [String]) throws -> String {
    guard let path = Machine.tool(name) else { throw ToolFailure(description: "no \(name)") }
    let outcome = try execute(path, arguments, joined: true)
    guard outcome.status == 0 else {
        throw ToolFailure(description: "\(name) \(arguments): \(outcome.output)")
    }
    return outcome.output
}

/// The path of a script among the tests, such as "Judge/judge".
package func testScript(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent(name).path
}

/// A whole file.
package func readFile(_ path: String) throws -> [UInt8] {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { throw ToolFailure(description: "cannot open \(path)") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw ToolFailure(description: "no size: \(path)") }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
        let left = bytes.count - done
        let count = bytes.withUnsafeMutableBytes { read(file, $0.baseAddress! + done, left) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw ToolFailure(description: "cannot read \(path)") }
        done += count
    }
    return bytes
}

/// A folder that goes, with its content, when this object does.
package final class TemporaryFolder {
    package let url: URL

    package init() throws {
        url = FileManager.default.temporaryDirectory
            .appendingPathComponent("blockgroups-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    package func path(_ name: String) -> String { url.appendingPathComponent(name).path }

    /// Makes a sparse file of `byteCount` zeros and returns its path.
    package func sparseFile(_ name: String, _ byteCount: UInt64) throws -> String {
        let path = path(name)
        let file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        guard file >= 0 else { throw ToolFailure(description: "cannot make \(path)") }
        defer { close(file) }
        guard ftruncate(file, off_t(byteCount)) == 0 else {
            throw ToolFailure(description: "cannot make \(path) \(byteCount) bytes long")
        }
        return path
    }
}

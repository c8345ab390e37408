//===-- FileArguments.swift - what put, get and rm have in common ----------------------------------===//
// Words on the command line, opening the file system, errors of files in it.

import ArgumentParser
import BGDiskFormat
import BlockGroups
import Glibc
import HostFiles

/// The help of an argument that takes images and then the words of these names.
func imagesAnd(_ names: String..., then what: String) -> ArgumentHelp {
    let words = "image> ... " + names.joined(separator: " ")
    return ArgumentHelp(
        "Image files or block devices of one file system in any order, then \(what).",
        // The parser puts a pair of brackets around it all.
        valueName: String(words.dropLast())
    )
}

/// What put and get have in common.
struct CopyOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Threads that copy files.", valueName: "count"))
    var threads = 4

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard 1...256 ~= threads else { throw ValidationError("--threads is 1 to 256") }
    }
}

/// Splits "IMAGE… WORD…" where the last words, as many as there are names, are no images.
func splitImages(
    _ words: [String],
    _ names: String...
) throws -> (images: [String], rest: [String]) {
    guard words.count > names.count else {
        throw ValidationError("expected <image> ... \(names.joined(separator: " "))")
    }
    let images = words.dropLast(names.count)
    return (Array(images), Array(words.suffix(names.count)))
}

/// - Throws: unless it begins with a slash, which is what tells it from a forgotten word.
func imagePath(_ text: String) throws -> FilePath {
    guard text.hasPrefix("/") else {
        throw ValidationError("'\(text)' is not a path in the file system: it begins with /")
    }
    return FilePath(text)
}

/// Splits "IMAGE… PATH".
func splitImagesAndPath(_ words: [String]) throws -> (images: [String], path: FilePath) {
    let (images, rest) = try splitImages(words, "</path>")
    return (images, try imagePath(rest[0]))
}

func openFilesystem(_ paths: [String], readOnly: Bool) throws -> Filesystem {
    do throws(FilesystemError) {
        return try Filesystem(paths: paths, readOnly: readOnly)
    } catch {
        throw Failure(describe(error, paths: paths))
    }
}

/// What went wrong about a path in the file system, in one line.
struct ImageFileError: Error {
    let path: FilePath
    let error: FilesystemError

    /// Whether other files may go well: the format has no place for this one, or something else is
    /// there by its name.
    var isOfOneFile: Bool {
        if case .system = error.code { return true }
        return error.code == .invalidArgument
    }

    func message(_ images: [String]) -> String {
        "\(shown(path.bytes)): \(reason(error, images))"
    }

    private func reason(_ error: FilesystemError, _ images: [String]) -> String {
        switch error.code {
        case .notFound, .exists, .system: return errorText(error.errno)
        case .noSpace: return "\(errorText(error.errno)) (\(error.message))"
        default: return describe(error, paths: images)
        }
    }
}

/// Calls `body`; what it throws then names the path.
func about<Result>(
    _ path: FilePath,
    _ body: () throws(FilesystemError) -> Result
) throws -> Result {
    do throws(FilesystemError) { return try body() } catch {
        throw ImageFileError(path: path, error: error)
    }
}

extension FilePath {
    /// The last name, as it was written; nil: there is none.
    var lastName: [UInt8]? { bytes.split(separator: 0x2f).last.map { [UInt8]($0) } }
}

extension FileAttributes {
    /// Those of a file of the machine's.
    init(_ status: stat) {
        self.init(
            permissions: status.st_mode & 0o7777,
            owner: status.st_uid,
            group: status.st_gid,
            accessTime: FileTime(status.st_atim),
            modificationTime: FileTime(status.st_mtim)
        )
    }

    /// The times alone.
    var times: FileAttributes {
        FileAttributes(accessTime: accessTime, modificationTime: modificationTime)
    }
}

extension FileTime {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}

extension timespec {
    init(_ time: FileTime) {
        self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
}

//===-- Put.swift - bgctl put: files and trees into a file system ---------------------------------===//

import ArgumentParser
import BGDiskFormat
import BlockGroups
import Synchronization

struct Put: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put",
        abstract: "Copies a file or a whole tree into the file system.",
        usage: "bgctl put [--threads <count>] [--json] <image> ... <source> </dest>",
        discussion: """
            Where /dest is a directory, the source goes into it under its own name; otherwise /dest \
            is the name that it gets. "folder/." stands for what is in the folder, as with cp. \
            Directories that are there already stay and get more in them; other files of the same \
            name are replaced.

            Kept are contents, holes, modes, owners, times, extended attributes, symbolic links, \
            device files, pipes, sockets, and hard links between files of the tree.

            What cannot be read is named and left out, and the exit status is 1. When the file \
            system has no room for more, what was copied so far stays, every file of it whole.
            """
    )

    @OptionGroup var options: CopyOptions

    @Argument(
        help: imagesAnd("<source>", "</dest>", then: "what to copy, then where to"),
        completion: .file()
    )
    var words: [String] = []

    func run() throws {
        let (images, rest) = try splitImages(words, "<source>", "</dest>")
        let destination = try imagePath(rest[1])
        let source: PutSource
        do { source = try PutSource(rest[0]) } catch { throw failure(error, images) }
        let filesystem = try openFilesystem(images, readOnly: false)
        let began = ContinuousClock.now
        let run = try PutRun(filesystem, images)
        do {
            try run.copy(source, to: destination, threads: options.threads)
        } catch {
            // What is whole stays, if the file system can still be written at all.
            do throws(FilesystemError) { try filesystem.close() } catch {}
            throw failure(error, images)
        }
        do throws(FilesystemError) { try filesystem.close() } catch {
            throw Failure("commit: \(describe(error, paths: images))")
        }
        let summary = CopySummary(counts: run.counts, seconds: seconds(since: began))
        try summary.write("put", isJSON: options.json)
        if run.counts.skipped.load(ordering: .relaxed) > 0 { quit(1) }
    }
}

/// An error of a copy as the line that a person reads.
func failure(_ error: any Error, _ images: [String]) -> any Error {
    switch error {
    case let error as HostError: Failure(error.message)
    case let error as ImageFileError: Failure(error.message(images))
    default: error
    }
}

func seconds(since began: ContinuousClock.Instant) -> Double {
    let parts = (ContinuousClock.now - began).components
    return Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
}

//===-- Get.swift - bgctl get: files and trees out of a file system -------------------------------===//

import ArgumentParser
import BGDiskFormat
import BlockGroups
import Synchronization

struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get",
        abstract: "Copies a file or a whole tree out of the file system.",
        usage: "bgctl get [--threads <count>] [--json] <image> ... </source> <dest>",
        discussion: """
            Where dest is a directory, the source goes into it under its own name; otherwise dest is \
            the name that it gets. "/folder/." stands for what is in the folder, and "/" for all \
            there is. Directories that are there already stay and get more in them; other files of \
            the same name are replaced, but never the image itself.

            Kept are contents, holes, modes, times, extended attributes, symbolic links, pipes, \
            sockets and hard links; for root, also owners and device files. The image is only read.

            What cannot be read, or has no copy with the right checksum, is named and left out, and \
            the exit status is 1.
            """
    )

    @OptionGroup var options: CopyOptions

    @Argument(
        help: imagesAnd("</source>", "<dest>", then: "what to copy, then where to"),
        completion: .file()
    )
    var words: [String] = []

    func run() throws {
        let (images, rest) = try splitImages(words, "</source>", "<dest>")
        let source = try imagePath(rest[0])
        let filesystem = try openFilesystem(images, readOnly: true)
        let began = ContinuousClock.now
        let run = GetRun(filesystem, images)
        do {
            try run.copy(source, to: rest[1], threads: options.threads)
        } catch {
            throw failure(error, images)
        }
        let summary = CopySummary(counts: run.counts, seconds: seconds(since: began))
        try summary.write("got", isJSON: options.json)
        if run.counts.skipped.load(ordering: .relaxed) > 0 { quit(1) }
    }
}

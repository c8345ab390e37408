//===-- Remove.swift - bgctl rm: removing files and trees -----------------------------------------===//

import ArgumentParser
import BGDiskFormat
import BlockGroups

struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm",
        abstract: "Removes a file, or a directory with all that is in it.",
        usage: "bgctl rm [--recursive] <image> ... </path>",
        discussion: """
            Prints nothing when all went well. A full file system is no obstacle.
            """
    )

    @Flag(name: .shortAndLong, help: "Remove a directory and everything in it.")
    var recursive = false

    @Argument(help: imagesAnd("</path>", then: "what to remove"), completion: .file())
    var words: [String] = []

    func run() throws {
        let (images, path) = try splitImagesAndPath(words)
        let filesystem = try openFilesystem(images, readOnly: false)
        var progress = Progress("removing")
        var count: UInt64 = 0
        do {
            try remove(path, in: filesystem) {
                count += 1
                progress.report(counted(count, "file"))
            }
        } catch {
            progress.end()
            // What was removed stays so.
            do throws(FilesystemError) { try filesystem.close() } catch {}
            throw failure(error, images)
        }
        progress.end()
        do throws(FilesystemError) { try filesystem.close() } catch {
            throw Failure("commit: \(describe(error, paths: images))")
        }
    }

    private func remove(
        _ path: FilePath,
        in filesystem: Filesystem,
        _ didRemove: () -> Void
    ) throws {
        let kind = try about(path) { () throws(FilesystemError) in
            try filesystem.metadata(of: path).kind
        }
        guard kind == .directory else {
            return try removeFile(path, in: filesystem, didRemove)
        }
        guard recursive else {
            throw Failure("\(shown(path.bytes)): is a directory; --recursive removes it")
        }
        // Refused before anything is gone.
        guard path.lastName != nil else {
            throw Failure("\(shown(path.bytes)): is the top directory")
        }
        try removeFolder(path, in: filesystem, didRemove)
    }

    private func removeFolder(
        _ path: FilePath,
        in filesystem: Filesystem,
        _ didRemove: () -> Void
    ) throws {
        for entry in try entries(of: path, in: filesystem) {
            let inner = path.appending(entry.name)
            if entry.kind == .directory, !entry.isSubvolume {
                try removeFolder(inner, in: filesystem, didRemove)
            } else {
                try removeFile(inner, in: filesystem, didRemove)
            }
        }
        try about(path) { () throws(FilesystemError) in
            try filesystem.removeDirectory(path)
        }
        didRemove()
    }

    private func removeFile(
        _ path: FilePath,
        in filesystem: Filesystem,
        _ didRemove: () -> Void
    ) throws {
        try about(path) { () throws(FilesystemError) in try filesystem.removeFile(path) }
        didRemove()
    }
}

/// All names in a directory of the file system.
func entries(of path: FilePath, in filesystem: Filesystem) throws -> [DirectoryEntry] {
    var entries: [DirectoryEntry] = []
    try about(path) { () throws(FilesystemError) in
        try filesystem.list(path) { (entry) throws(FilesystemError) in
            entries.append(entry)
            return true
        }
    }
    return entries
}

//===-- FileCounts.swift - what was copied, and what could not be ---------------------------------===//

import Glibc
import HostFiles
import Synchronization

/// Counters that several threads add to.
final class FileCounts: Sendable {
    let files = Atomic<Int>(0)
    let folders = Atomic<Int>(0)
    /// Symbolic links, device files, pipes and sockets, and further names of a file.
    let others = Atomic<Int>(0)
    let bytes = Atomic<Int>(0)
    let skipped = Atomic<Int>(0)

    func addFile(_ byteCount: UInt64) {
        files.wrappingAdd(1, ordering: .relaxed)
        bytes.wrappingAdd(Int(clamping: byteCount), ordering: .relaxed)
    }

    func addFolder() { folders.wrappingAdd(1, ordering: .relaxed) }
    func addOther() { others.wrappingAdd(1, ordering: .relaxed) }

    /// Says at once what could not be read or made, which does not keep the others from being copied.
    func skip(_ message: String) {
        skipped.wrappingAdd(1, ordering: .relaxed)
        say("bgctl: " + message)
    }
}

/// The numbers of a copy that is over.
struct CopySummary {
    let counts: FileCounts
    let seconds: Double

    private var bytes: UInt64 { UInt64(counts.bytes.load(ordering: .relaxed)) }

    /// - Parameter verb: such as "put".
    func write(_ verb: String, isJSON: Bool) throws {
        let files = UInt64(counts.files.load(ordering: .relaxed))
        let folders = UInt64(counts.folders.load(ordering: .relaxed))
        let others = UInt64(counts.others.load(ordering: .relaxed))
        let skipped = UInt64(counts.skipped.load(ordering: .relaxed))
        if isJSON {
            var json = JSONWriter()
            json.object { json in
                json.field("ok", skipped == 0)
                json.field("files", files)
                json.field("directories", folders)
                json.field("others", others)
                json.field("bytes", bytes)
                json.field("skipped", skipped)
                json.field("milliseconds", UInt64(seconds * 1000))
            }
            return try json.end()
        }
        var output = Output()
        var parts = [counted(files, "file")]
        if folders > 0 { parts.append(counted(folders, "directory", "directories")) }
        if others > 0 {
            parts.append(counted(others, "link or special file", "links and special files"))
        }
        output.line(
            "\(verb) \(parts.joined(separator: ", ")): \(sizeText(bytes)) in \(decimal(seconds, 2)) s, "
                + "\(decimal(Double(bytes) / max(seconds, 1e-6) / 1e6, 0)) MB/s"
        )
        try output.flush()
    }
}

/// Runs `count` threads of `work` on a queue beside this one, which does `main` meanwhile, and then
/// closes the queue; shows what is counted.
///
/// - Throws: what the queue was stopped by, `main` having failed included, once all have ended.
func copyWithThreads<Item>(
    _ count: Int,
    _ queue: WorkQueue<Item>,
    _ counts: FileCounts,
    _ work: @escaping @Sendable () -> Void,
    main: () throws -> Void
) throws {
    host_raise_file_limit()
    try runThreads(count, counts, work) {
        defer { queue.close() }
        do { try main() } catch { queue.stop(error) }
    }
    if let error = queue.failure { throw error }
}

private func runThreads(
    _ count: Int,
    _ counts: FileCounts,
    _ work: @escaping @Sendable () -> Void,
    main: () -> Void
) throws {
    var threads: [Thread] = []
    for _ in 0..<count {
        // One is enough to get through.
        guard let thread = Thread(work) else { break }
        threads.append(thread)
    }
    guard !threads.isEmpty else { throw Failure("no thread could be started") }
    let isOver = StopSign()
    let watcher = Thread {
        var progress = Progress("copying")
        while !isOver.isSet {
            usleep(50_000)
            let done =
                counts.files.load(ordering: .relaxed) + counts.others.load(ordering: .relaxed)
            let bytes = UInt64(counts.bytes.load(ordering: .relaxed))
            progress.report("\(counted(UInt64(done), "file")), \(sizeText(bytes))")
        }
        progress.end()
    }
    defer {
        for thread in threads { thread.join() }
        isOver.set()
        watcher?.join()
    }
    main()
}

// What a commit frees, for those who ask while it is being written.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

/// What a thread beside a commit came to.
private final class Outcome: @unchecked Sendable {
    let done = DispatchSemaphore(value: 0)
    var error: FilesystemError?
}

@Suite struct CommitSpaceTests {
    @Test func spaceThatACommitIsFreeingIsWaitedFor() throws {
        let device = MemoryDevice(byteCount: 80 << 20)
        try Filesystem.format(devices: [device])
        let filesystem = try openFilesystem([device], readOnly: false)
        let file = try filesystem.createFile(FilePath("/all"))
        let piece = [UInt8](repeating: 1, count: 1 << 20)
        var offset: UInt64 = 0
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            while true {
                try piece.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
                    try file.write(at: offset, from: bytes)
                }
                offset += UInt64(piece.count)
            }
        }
        try file.close()
        try filesystem.commit()
        try filesystem.removeFile(FilePath("/all"))
        // From within the commit, whose first flush comes before its super block.
        let outcome = Outcome()
        var isAsked = false
        device.onFlush = {
            guard !isAsked else { return }
            isAsked = true
            Thread.detachNewThread {
                do throws(FilesystemError) {
                    try filesystem.claimData(length: 1 << 20).giveBack()
                } catch {
                    outcome.error = error
                }
                outcome.done.signal()
            }
            // It asks now, and can be served only when this is over.
            if outcome.done.wait(timeout: .now() + 0.3) == .success { outcome.done.signal() }
        }
        try filesystem.commit()
        outcome.done.wait()
        device.onFlush = nil
        #expect(outcome.error == nil)
        try filesystem.close()
    }
}

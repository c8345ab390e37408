//===-- TreeDamage.swift - a tree of an image file that nobody can read any more ---------------------===//

import BGDiskFormat
import Foundation

/// Overwrites two bytes of every block of a tree, in all its copies.
///
/// - Returns: how many copies of blocks there were.
package func damageTree(_ treeID: UInt64, ofImage path: String, nodeSize: Int = 16384) throws -> Int
{
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    defer { try? file.close() }
    func bytes(at offset: UInt64, _ count: Int) throws -> Data {
        try file.seek(toOffset: offset)
        return try file.read(upToCount: count) ?? Data()
    }
    let fsid = try bytes(at: 65536 + 32, 16)
    let end = try file.seekToEnd()
    var damaged = 0
    for offset in stride(from: UInt64(1 << 20), to: end - UInt64(nodeSize), by: 4096) {
        let header = try bytes(at: offset + 32, 69)
        guard header.prefix(16) == fsid else { continue }
        let owner = (0..<8).reduce(UInt64(0)) { $0 | UInt64(header[56 + $1]) << (8 * $1) }
        guard owner == treeID else { continue }
        try file.seek(toOffset: offset + 200)
        try file.write(contentsOf: Data([0x5a, 0xa5]))
        damaged += 1
    }
    return damaged
}

// Where tree blocks lie on a device, for tests that damage them.

import BGDevices
import BGDiskFormat
import BGTestSupport

extension MemoryDevice {
    /// Where each committed tree block of the file system lies: of every tree that a reader reads.
    func treeBlocks(_ superBlock: SuperBlock) -> [TreeBlockPlace] {
        let nodeSize = Int(superBlock.nodeSize)
        var places: [TreeBlockPlace] = []
        for physical in stride(from: 0, through: Int(byteCount) - nodeSize, by: 4096) {
            let head = bytes(at: physical, 128)
            guard head.span.bytes.uuid(at: 32) == superBlock.metadataUUID else { continue }
            let block = bytes(at: physical, nodeSize)
            let span = block.span.bytes
            guard physical != 64 << 10, superBlock.checksumType.verify(block: span) else {
                continue
            }
            places.append(
                TreeBlockPlace(
                    physical: physical,
                    logical: span.u64(at: 48),
                    owner: span.u64(at: 88),
                    level: Int(span.u8(at: 100)),
                    itemCount: Int(span.u32(at: 96))
                )
            )
        }
        return places
    }
}

struct TreeBlockPlace {
    let physical: Int
    let logical: UInt64
    let owner: UInt64
    let level: Int
    let itemCount: Int
}

// Images whose numbers are sound one by one, and so pass the checks of what is read, but leave no room for
// one more: writing refuses, and does not trap.

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees
@testable import BlockGroups

@Suite struct ExtremeNumberTests {
    @Test func aDirectoryThatHasUsedEveryIndexTakesNoMoreNames() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        do {
            let filesystem = try makeFilesystem(device)
            try filesystem.makeDirectory("/full")
            try filesystem.createFile("/full/last").close()
            try filesystem.createFile("/a").close()
            let number = try filesystem.metadata(of: "/full").inode
            try filesystem.change { (transaction) throws(FilesystemError) in
                let tree = try transaction.tree(ObjectID.filesystemTree)
                guard let index = try tree.last(atOrBelow: Key(number, .dirIndex, .max)) else {
                    throw FilesystemError(.notFound, "directory", "has no index")
                }
                try tree.remove(index.key)
                try tree.insert(Key(number, .dirIndex, .max), index.data)
            }
            try filesystem.commit()
        }
        let filesystem = try openFilesystem([device], readOnly: false)
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            try filesystem.makeDirectory("/full/one")
        }
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            _ = try filesystem.createFile("/full/one")
        }
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            try filesystem.makeHardLink("/full/one", to: "/a")
        }
        for target in ["/full/one", "/full/last"] as [FilePath] {
            expectRefusal(.noSpace) { () throws(FilesystemError) in
                try filesystem.rename("/a", to: target)
            }
        }
        #expect(filesystem.failure == nil)
        try filesystem.rename("/a", to: "/b")
        try filesystem.close()
    }

    @Test func anExtentWithEveryReferenceThereCanBeGetsNoOther() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device)
        let file = try filesystem.createFile("/a")
        try file.write(at: 0, [UInt8](repeating: 1, count: 64 << 10))
        try filesystem.commit()
        let extent = try #require(
            try filesystem.readFiles { (files) throws(FilesystemError) in
                try files.extents(of: file.inodeNumber, from: 0, to: 4096).first
            }
        )
        let state = try filesystem.trees().state
        try filesystem.change { (_) throws(FilesystemError) in
            let key = Key(extent.item.logical, .extentItem, extent.item.diskBytes)
            try state.trees.extent.tree.change(key) { (item) throws(FilesystemError) in
                item.store(UInt64.max, at: 0)
            }
        }
        // Cut in two, the extent is referred to once more.
        try file.write(at: 8192, [UInt8](repeating: 2, count: 4096))
        expectRefusal(.corrupt) { () throws(FilesystemError) in try filesystem.commit() }
        #expect(filesystem.failure?.code == .corrupt)
    }
}

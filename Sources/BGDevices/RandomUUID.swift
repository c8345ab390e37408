//===-- RandomUUID.swift - names for new file systems and devices ---------------------------------===//

package import BGDiskFormat
internal import CShim

extension FilesystemUUID {
    /// A random UUID (version 4, RFC 9562).
    ///
    /// Throws where the kernel gives no random bytes.
    package static func random() throws(FilesystemError) -> FilesystemUUID {
        var words: (UInt64, UInt64) = (0, 0)
        let failed = unsafe withUnsafeMutableBytes(of: &words) { buffer in
            unsafe bgs_random_bytes(buffer.baseAddress, UInt32(buffer.count))
        }
        guard failed == 0 else {
            throw FilesystemError(
                FilesystemError.Code(systemError: failed),
                "UUID",
                "the kernel gives no random bytes"
            )
        }
        return FilesystemUUID(
            high: words.0 & ~0xf000 | 0x4000,
            low: words.1 & ~(3 << 62) | 2 << 62
        )
    }
}

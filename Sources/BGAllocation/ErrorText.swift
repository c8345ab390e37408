//===-- ErrorText.swift - this thread's last error, in words -------------------------------------===//

internal import CShim

package enum ErrorText {
    /// This thread's text, ended by a 0; valid until its next failing call.
    package static var pointer: UnsafePointer<CChar> { unsafe UnsafePointer(bgs_error_text()) }

    /// Replaces this thread's text.
    package static func set(_ write: (inout TextBuffer) -> Void) {
        let bytes = unsafe UnsafeMutableBufferPointer(
            start: bgs_error_text(),
            count: Int(BGS_ERROR_TEXT_BYTES)
        )
        var text = unsafe TextBuffer(bytes)
        write(&text)
        text.finish()
    }
}

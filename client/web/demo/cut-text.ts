/** At most `limit` UTF-16 units of a text, never half a character: what is stored must be well-formed everywhere. */
export function cutText(text: string, limit: number): string {
  const cut = text.slice(0, limit)
  return /[\uD800-\uDBFF]$/.test(cut) ? cut.slice(0, -1) : cut
}

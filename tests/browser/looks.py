"""What a page looks like to those who see it faintly, and to those who hear it."""

LEAST = 4.5  # WCAG 2, level AA, for text of normal size
NAMED = {"button", "checkbox", "combobox", "image", "progressbar", "region", "textbox"}  # roles

# The contrast of every visible piece of text with what is behind it; of several half-transparent layers, their mixture.
CONTRASTS = """roots => {
    const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const read = colour => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
    const luminance = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => {
        const layers = [];
        for (; e; e = e.parentElement) layers.push(read(getComputedStyle(e).backgroundColor));
        return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
    };
    const opacity = e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1;
    const contrast = (e, colour) => {
        const under = behind(e), [r, g, b, a] = read(colour);
        const [low, high] = [luminance(over([r, g, b, a * opacity(e)], under)), luminance(under)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const found = [];
    for (const root of document.querySelectorAll(roots)) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode, e = text.parentElement;
            const disabled = e.closest('button:disabled, select:disabled') || e.closest('label')?.control?.disabled;
            if (!text.data.trim() || disabled || !e.checkVisibility({visibilityProperty: true})) continue;
            if (e.localName !== 'option') found.push([contrast(e, getComputedStyle(e).color), text.data.trim()]);
        }
        for (const e of root.querySelectorAll('input[type=text], textarea, select')) {
            if (e.disabled || !e.checkVisibility()) continue;
            const empty = !e.value && e.placeholder;
            const style = getComputedStyle(e, empty ? '::placeholder' : null);
            found.push([contrast(e, style.color), e.value || e.placeholder]);
        }
    }
    return found;
}"""


def contrasts(page, roots):
    """Each visible piece of text in the elements that ``roots`` selects, after its contrast, the faintest first."""
    return sorted(page.evaluate(CONTRASTS, roots))


class Heard:
    """What assistive technology finds in a part of a page: roles and names, as the browser computes them."""

    def __init__(self, page, root=".moa-playground"):
        self._root = root
        self._page, self._client = page, page.context.new_cdp_session(page)

    def _find(self, expression):
        found = self._client.send("Runtime.evaluate", {"expression": expression})["result"]["objectId"]
        return {"objectId": found}

    def all(self):
        """Each role and name, in the order of the page."""
        node = self._find(f"[...document.querySelectorAll('{self._root}')].at(-1)")
        nodes = self._client.send("Accessibility.queryAXTree", node)["nodes"]
        return [self._named(node) for node in nodes if not node["ignored"]]

    def focused(self):
        """Role and name of what has the focus."""
        node = self._find("document.activeElement") | {"fetchRelatives": False}
        return self._named(self._client.send("Accessibility.getPartialAXTree", node)["nodes"][0])

    def _named(self, node):
        return node["role"]["value"], node.get("name", {}).get("value", "").replace("\N{NO-BREAK SPACE}", " ")

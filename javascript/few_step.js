// Presses the hidden buttons that bring the accordions' lines up to date.
function fewstepRefresh() {
    gradioApp().querySelectorAll(".fewstep-refresh").forEach((button) => button.click());
}

onUiLoaded(fewstepRefresh);
onOptionsChanged(fewstepRefresh);

// The values of the page, the last three filled in: whether img2img resizes by a factor, and the picture's size.
function fewstepWithSource(...values) {
    const byFactor = gradioApp().querySelector("#img2img_tab_resize_by");
    const shown = (element) => element && element.offsetParent !== null;
    const pictures = gradioApp().querySelectorAll("#mode_img2img img");
    const picture = [...pictures].find((image) => shown(image) && image.naturalWidth > 0);
    const selected = byFactor && byFactor.style.display !== "none" ? 1 : 0;
    return [...values.slice(0, -3), selected, picture?.naturalWidth ?? 0, picture?.naturalHeight ?? 0];
}

// The scan and its labels in three planes and in 3-D, by NiiVue, from what the page itself holds: nothing is fetched.
(async () => {
  const say = (text) => { document.getElementById("said").textContent = text; };
  const unpack = async (id) => {
    const text = atob(document.getElementById(id).textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const boxes = [...document.querySelectorAll("#organs input[type=checkbox]")];
  const probe = document.createElement("canvas").getContext("webgl2");
  if (!probe) {
    say("This browser has no WebGL 2: the interactive view is left out. The pictures below show the same.");
    return;
  }
  probe.getExtension("WEBGL_lose_context")?.loseContext();
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack("niivue"));
  document.head.append(script);
  const { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, DRAG_MODE } = window.niivue;
  const [ct, labels] = await Promise.all([unpack("ct"), unpack("labels")]);

  const colours = () => {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: ["background"] };
    for (const { label, name, rgb } of facts.organs) {
      map.R.push(rgb[0]); map.G.push(rgb[1]); map.B.push(rgb[2]); map.I.push(label); map.labels.push(name);
      map.A.push(boxes.find((box) => Number(box.value) === label).checked ? 255 : 0);
    }
    return map;
  };
  const open = async (id, options, low, high, opacity) => {
    const viewer = new Niivue({ dragAndDropEnabled: false, showLegend: false, logLevel: "error", loadingText: "",
      isRadiologicalConvention: true, crosshairColor: [1, 1, 1, 0.6], fontColor: [1, 0.88, 0.5, 1],
      viewModeHotKey: "", dragMode: DRAG_MODE.slicer3D, ...options });
    await viewer.attachToCanvas(document.getElementById(id));
    const scan = await NVImage.new(ct, "ct.nii", "gray", 1, null, low, high);
    viewer.addVolume(scan);
    const organs = await NVImage.new(labels, "labels.nii", "", opacity);
    organs.setColormapLabel(colours());
    viewer.addVolume(organs);
    return viewer;
  };
  const planes = await open("planes", { sliceType: SLICE_TYPE.MULTIPLANAR, multiplanarShowRender: SHOW_RENDER.NEVER,
    showAllOrientationMarkers: true, tileMargin: 16, sagittalNoseLeft: true }, ...facts.window, 0.45);
  const solid = await open("solid", { sliceType: SLICE_TYPE.RENDER, isOrientCube: true, crosshairWidth: 0 }, 130, facts.held[1], 1);
  solid.setRenderAzimuthElevation(200, 12);
  solid.setScale(1.15);

  const show = () => {
    for (const viewer of [planes, solid]) {
      viewer.volumes[1].setColormapLabel(colours());
      viewer.updateGLVolume();
    }
  };
  for (const box of boxes) box.addEventListener("change", show);
  for (const button of document.querySelectorAll("#organs button")) {
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = button.value === "all";
      show();
    });
  }

  const names = new Map(facts.organs.map(({ label, name }) => [label, name]));
  const sliders = ["sagittal", "coronal", "axial"].map((name) => document.getElementById(name));
  const [, width, depth, height] = planes.volumes[0].dimsRAS;
  [width, depth, height].forEach((size, axis) => { sliders[axis].max = size - 1; });
  sliders.forEach((slider, axis) => slider.addEventListener("input", () => {
    const at = [...planes.frac2vox(planes.scene.crosshairPos)];
    at[axis] = Number(slider.value);
    planes.scene.crosshairPos = planes.vox2frac(at);
    planes.createOnLocationChange();
    planes.drawScene();
  }));
  planes.onLocationChange = (place) => {
    place.vox.forEach((voxel, axis) => { sliders[axis].value = Math.round(voxel); });
    const [right, front, up] = place.mm;
    const [grey, label] = place.values.map(({ value }) => value);
    const [least, most] = facts.held;
    const hu = grey <= least + 1 ? `${least} or less` : grey >= most - 1 ? `${most} or more` : grey.toFixed(0);
    const mm = [-right, -front, up].map((value) => value.toFixed(0)).join(", ");
    document.getElementById("place").textContent = `LPS ${mm} mm · ${hu} HU · ${names.get(Math.round(label)) ?? "no organ"}`;
  };
  const level = [document.getElementById("window-low"), document.getElementById("window-high")];
  level.forEach((slider) => slider.addEventListener("input", () => {
    // no <output>: a label that holds one is its label and not the slider's
    document.querySelector(`[data-of="${slider.id}"]`).textContent = slider.value;
    planes.volumes[0].cal_min = Math.min(Number(level[0].value), Number(level[1].value) - 1);
    planes.volumes[0].cal_max = Math.max(Number(level[1].value), Number(level[0].value) + 1);
    planes.updateGLVolume();
  }));
  document.getElementById("strength").addEventListener("input", (event) => planes.setOpacity(1, Number(event.target.value)));
  planes.scene.crosshairPos = planes.mm2frac(facts.start_ras);
  planes.createOnLocationChange();
  planes.drawScene();
  window.report = { planes, solid };
  say("Wheel or sliders: slices. Click: the same place in all planes. Right button: larger or smaller; middle button: move. On the 3-D view: turn with the mouse.");
  document.documentElement.dataset.viewer = "ready";
})().catch((error) => {
  document.getElementById("said").textContent = `The interactive view could not be started (${error.message}). The pictures below show the same.`;
  document.documentElement.dataset.viewer = "failed";
  console.error(error);
});
